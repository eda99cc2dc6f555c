//! A hub of our own on this machine, which answers as the real one does, or worse.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    sync::{Arc, Mutex},
    thread,
};

use headstart_source::{
    FetchEvent, Fetched, Fetcher, FetcherOptions, HubOptions, SourceError, Spec, sha256_file,
};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

#[derive(Default)]
struct State {
    /// Name, etag, content.
    files: BTreeMap<String, (String, Vec<u8>)>,
    /// How many transfers to cut off in the middle.
    cuts: usize,
    requests: Vec<String>,
}

struct Hub {
    state: Arc<Mutex<State>>,
    endpoint: String,
    folder: tempfile::TempDir,
}

impl Hub {
    fn new(files: &[(&str, &[u8])]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let folder = tempfile::tempdir().unwrap();
        let mut state = State::default();
        for (name, bytes) in files {
            let path = folder.path().join("content");
            fs::write(&path, bytes).unwrap();
            // As on the real hub: large files by their SHA-256, small ones by git's hash, here any 40 digits.
            let sha256 = sha256_file(&path).unwrap();
            let etag = if name.ends_with("safetensors") { sha256 } else { sha256[..40].to_owned() };
            state.files.insert((*name).to_owned(), (etag, bytes.to_vec()));
        }
        let state = Arc::new(Mutex::new(state));
        let served = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let _ = answer(stream.unwrap(), &served);
            }
        });
        Self { state, endpoint, folder }
    }

    fn options(&self) -> FetcherOptions {
        FetcherOptions {
            hub: HubOptions {
                endpoint: Some(self.endpoint.clone()),
                cache_dir: Some(self.folder.path().join("hf/hub")),
                ..HubOptions::default()
            },
            ..FetcherOptions::new(self.folder.path().join("cache"))
        }
    }

    fn get(&self, spec: &str) -> Result<Fetched, SourceError> {
        Fetcher::new(self.options()).fetch(&Spec::parse(spec).unwrap(), None, &|_| {})
    }

    fn offline(&self, spec: &str) -> Result<Fetched, SourceError> {
        let mut options = self.options();
        options.hub.offline = true;
        Fetcher::new(options).fetch(&Spec::parse(spec).unwrap(), None, &|_| {})
    }

    fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().requests)
    }

    fn blobs(&self) -> Vec<PathBuf> {
        let blobs = fs::read_dir(self.folder.path().join("hf/hub/models--own--net/blobs"));
        blobs.into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
    }
}

fn answer(mut stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut request = String::new();
    let mut range = None;
    for line in BufReader::new(stream.try_clone()?).lines() {
        let line = line?;
        if line.is_empty() {
            break;
        }
        if request.is_empty() {
            request = line.split(' ').nth(1).unwrap_or_default().to_owned();
        } else if let Some(bytes) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
            range = Some(bytes.to_owned());
        }
    }
    let mut state = state.lock().unwrap();
    state.requests.push(format!("{request} {}", range.clone().unwrap_or_default()));
    let close = "Connection: close";
    if request == "/api/models/own/net/revision/main?blobs=true" {
        let siblings: Vec<_> =
            state.files.keys().map(|name| serde_json::json!({ "rfilename": name })).collect();
        let body = serde_json::json!({ "sha": COMMIT, "siblings": siblings }).to_string();
        return write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{close}\r\n\r\n{body}", body.len());
    }
    let name = request.strip_prefix(&format!("/own/net/resolve/{COMMIT}/")).unwrap_or_default();
    let Some((etag, bytes)) = state.files.get(name).cloned() else {
        return write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n{close}\r\n\r\n");
    };
    let range = range.unwrap_or_else(|| "0-".to_owned());
    let (from, to) = range.split_once('-').unwrap();
    let from: usize = from.parse().unwrap();
    let to: usize = to.parse().map_or(bytes.len(), |to: usize| (to + 1).min(bytes.len()));
    if from >= to {
        return write!(stream, "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\n{close}\r\n\r\n");
    }
    write!(
        stream,
        "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {from}-{}/{}\r\n\
         ETag: \"{etag}\"\r\nX-Repo-Commit: {COMMIT}\r\n{close}\r\n\r\n",
        to - from,
        to - 1,
        bytes.len()
    )?;
    let cut = state.cuts > 0 && to - from > 1;
    let end = if cut { from + (to - from) / 2 } else { to };
    if cut {
        state.cuts -= 1;
    }
    stream.write_all(&bytes[from..end])
}

fn model() -> Hub {
    Hub::new(&[
        ("config.json", b"{}"),
        ("tokenizer.json", b"{\"a\":1}"),
        ("1_Pooling/config.json", b"{\"b\":1}"),
        ("model.safetensors", &[7; 40_000]),
        ("pytorch_model.bin", b"never fetched"),
        ("train.py", b"never fetched"),
    ])
}

#[test]
fn a_model_comes_as_a_folder_and_is_found_again_offline() {
    let hub = model();
    let events = Mutex::new(Vec::new());
    let spec = Spec::parse("hf:own/net").unwrap();
    let first =
        Fetcher::new(hub.options()).fetch(&spec, None, &|event| events.lock().unwrap().push(event)).unwrap();
    assert_eq!(first.version, COMMIT);
    assert_eq!(first.bytes, 2 + 7 + 7 + 40_000);
    assert_eq!(fs::read(first.path.join("model.safetensors")).unwrap(), [7; 40_000]);
    assert!(first.path.join("1_Pooling/config.json").is_file());
    assert!(!first.path.join("pytorch_model.bin").exists());
    let events = events.into_inner().unwrap();
    let started =
        FetchEvent::Started { what: "hf:own/net!model.safetensors".to_owned(), total: Some(40_000) };
    assert!(events.contains(&started));
    assert!(events.contains(&FetchEvent::Bytes { done: 40_000, total: Some(40_000) }));

    hub.requests();
    for spec in ["hf:own/net", &format!("hf:own/net@{COMMIT}")] {
        assert_eq!(hub.get(spec).unwrap().path, first.path);
        assert_eq!(hub.offline(spec).unwrap().path, first.path);
    }
    assert!(hub.offline("hf:own/net!config.json").unwrap().from_cache);
    assert!(hub.requests().is_empty());
}

#[test]
fn one_file_comes_alone() {
    let hub = model();
    let file = hub.get("hf:own/net!train.py").unwrap();
    assert_eq!(fs::read_to_string(&file.path).unwrap(), "never fetched");
    assert!(file.path.ends_with("train.py"));
    let error = hub.get("hf:own/net!other.py").unwrap_err();
    assert_eq!(error.hint().unwrap(), "for example `hf:own/net!train.py`");
}

#[test]
fn a_repository_that_is_not_there() {
    let hub = model();
    let error = hub.get("hf:own/absent").unwrap_err();
    assert!(matches!(error, SourceError::NotFound { .. }), "{error}");
    let error = hub.offline("hf:own/net").unwrap_err();
    assert!(matches!(error, SourceError::Offline { .. }), "{error}");
}

#[test]
fn what_another_program_fetched_is_used_offline() {
    let hub = model();
    hub.get("hf:own/net").unwrap();
    fs::remove_dir_all(hub.folder.path().join("cache")).unwrap();
    // As Python leaves it.
    let refs = hub.folder.path().join("hf/hub/models--own--net/refs");
    fs::write(refs.join("main"), COMMIT).unwrap();
    let found = hub.offline("hf:own/net").unwrap();
    assert!(found.from_cache);
    assert_eq!(fs::read(found.path.join("model.safetensors")).unwrap(), [7; 40_000]);
}

#[test]
fn a_transfer_that_is_cut_goes_on_where_it_was() {
    let hub = model();
    hub.state.lock().unwrap().cuts = 1;
    let file = hub.get("hf:own/net!model.safetensors").unwrap();
    assert_eq!(fs::read(file.path).unwrap(), [7; 40_000]);
    let requests = hub.requests();
    assert!(requests.iter().any(|request| request.ends_with("model.safetensors 20000-")), "{requests:?}");
}

#[test]
fn a_transfer_that_fails_is_resumed_by_the_next_run() {
    let hub = model();
    hub.state.lock().unwrap().cuts = 3;
    let error = hub.get("hf:own/net!model.safetensors").unwrap_err();
    assert!(matches!(error, SourceError::Hub { status: None, .. }), "{error}");
    assert!(hub.blobs().iter().any(|path| path.extension().is_some_and(|ending| ending == "part")));
    hub.requests();
    let file = hub.get("hf:own/net!model.safetensors").unwrap();
    assert_eq!(fs::read(file.path).unwrap(), [7; 40_000]);
    assert!(hub.requests().iter().any(|request| request.ends_with("model.safetensors 35000-")));
}

#[test]
fn a_part_that_is_whole_or_wrong_is_not_believed() {
    let hub = model();
    let etag = hub.state.lock().unwrap().files["model.safetensors"].0.clone();
    let blobs = hub.folder.path().join("hf/hub/models--own--net/blobs");
    fs::create_dir_all(&blobs).unwrap();
    for part in [vec![8; 40_000], vec![8; 50_000], vec![8; 10_000]] {
        fs::write(blobs.join(format!("{etag}.part")), part).unwrap();
        let file = hub.get("hf:own/net!model.safetensors").unwrap();
        assert_eq!(fs::read(file.path).unwrap(), [7; 40_000]);
        fs::remove_dir_all(hub.folder.path().join("cache")).unwrap();
        fs::remove_dir_all(hub.folder.path().join("hf/hub/models--own--net/snapshots")).unwrap();
    }
}

#[test]
fn content_that_is_not_what_the_hub_promised_is_refused() {
    let hub = model();
    hub.state.lock().unwrap().files.get_mut("model.safetensors").unwrap().1[5] = 0;
    let error = hub.get("hf:own/net").unwrap_err();
    assert!(matches!(error, SourceError::HashMismatch { .. }), "{error}");
    assert!(hub.offline("hf:own/net").is_err());
    let left = |blob: &PathBuf| blob.extension().is_none() && blob.file_name().unwrap().len() == 64;
    assert!(!hub.blobs().iter().any(left), "{:?}", hub.blobs());
}

#[test]
fn an_expected_hash_that_differs_keeps_nothing() {
    let hub = model();
    let spec = Spec::parse("hf:own/net!config.json").unwrap();
    let error = Fetcher::new(hub.options()).fetch(&spec, Some(&"0".repeat(64)), &|_| {}).unwrap_err();
    assert!(matches!(error, SourceError::HashMismatch { .. }), "{error}");
    assert!(!hub.folder.path().join("cache/objects").exists());
    let folder = Spec::parse("hf:own/net").unwrap();
    let error = Fetcher::new(hub.options()).fetch(&folder, Some(&"0".repeat(64)), &|_| {}).unwrap_err();
    assert!(matches!(error, SourceError::HashOfFolder { .. }), "{error}");
}

#[test]
fn a_hub_cannot_choose_where_files_go() {
    for etag in ["../../../evil", "/evil", "a.b", ""] {
        let hub = model();
        hub.state.lock().unwrap().files.get_mut("config.json").unwrap().0 = etag.to_owned();
        let error = hub.get("hf:own/net!config.json").unwrap_err();
        assert!(matches!(error, SourceError::HubAnswer { .. }), "{error}");
        assert!(hub.blobs().is_empty());
    }
}

#[test]
fn a_damaged_model_is_not_mended_from_the_damaged_blob() {
    let hub = model();
    let path = hub.get("hf:own/net").unwrap().path.join("config.json");
    // The same file as in the hub's cache, where it could be linked.
    fs::write(&path, "[]").unwrap();
    let mended = hub.get("hf:own/net").unwrap();
    assert!(!mended.from_cache);
    assert_eq!(fs::read_to_string(path).unwrap(), "{}");
}

#[test]
fn a_hub_that_is_away_says_so_and_the_token_stays_hidden() {
    let hub = model();
    let mut options = hub.options();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    options.hub.endpoint = Some(format!("http://127.0.0.1:{port}"));
    options.hub.token = Some("hf_secret".to_owned());
    assert!(!format!("{options:?}").contains("secret"));
    let error = Fetcher::new(options).fetch(&Spec::parse("hf:own/net").unwrap(), None, &|_| {}).unwrap_err();
    assert!(matches!(error, SourceError::Hub { status: None, .. }), "{error}");
    assert!(error.hint().unwrap().contains("HF_ENDPOINT"));
}

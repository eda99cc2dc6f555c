//! A folder with a stand-in for `pip` and `npm`, and archives to deliver.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use headstart_source::{Fetched, Fetcher, FetcherOptions, SourceError, Spec};

pub(crate) struct Fake {
    pub(crate) dir: tempfile::TempDir,
}

impl Fake {
    /// A client that delivers these files.
    pub(crate) fn delivering(files: &[(&str, Vec<u8>)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("files")).unwrap();
        let fake = Self { dir };
        fake.deliver(files);
        #[cfg(unix)]
        std::os::unix::fs::symlink(
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fakes/client"),
            fake.path("client"),
        )
        .unwrap();
        fake
    }

    /// A client that runs these lines of shell.
    pub(crate) fn running(script: &str) -> Self {
        let fake = Self::delivering(&[]);
        fs::write(fake.path("script"), script).unwrap();
        fake
    }

    pub(crate) fn deliver(&self, files: &[(&str, Vec<u8>)]) {
        let folder = self.path("files");
        fs::remove_dir_all(&folder).unwrap();
        fs::create_dir(&folder).unwrap();
        for (name, bytes) in files {
            fs::write(folder.join(name), bytes).unwrap();
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn options(&self) -> FetcherOptions {
        FetcherOptions {
            pip: Some(self.path("client")),
            npm: Some(self.path("client")),
            process_timeout: Duration::from_secs(20),
            ..FetcherOptions::new(self.path("cache"))
        }
    }

    pub(crate) fn fetcher(&self) -> Fetcher {
        Fetcher::new(self.options())
    }

    pub(crate) fn offline(&self) -> Fetcher {
        Fetcher::new(FetcherOptions { offline: true, ..self.options() })
    }

    /// The arguments of every run so far.
    pub(crate) fn runs(&self) -> Vec<String> {
        let runs = fs::read_to_string(self.path("runs")).unwrap_or_default();
        runs.lines().map(str::to_owned).collect()
    }

    /// All files in the cache but for the locks.
    pub(crate) fn kept(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![self.path("cache")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false if path.extension().is_some_and(|ending| ending == "lock") => {}
                    false => files.push(path),
                }
            }
        }
        files
    }
}

pub(crate) fn get(fetcher: &Fetcher, spec: &str) -> Result<Fetched, SourceError> {
    fetcher.fetch(&Spec::parse(spec).unwrap(), None, &|_| {})
}

/// A zip file, deflated.
pub(crate) fn zip_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in files {
        zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A gzipped tar file.  Names go into the header as they are, so hostile ones can be made.
pub(crate) fn tgz_of(entries: &[(&str, tar::EntryType, &[u8])]) -> Vec<u8> {
    let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut tar = tar::Builder::new(gzip);
    for (name, kind, bytes) in entries {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        if matches!(kind, tar::EntryType::Symlink | tar::EntryType::Link) {
            header.set_link_name("../../etc/passwd").unwrap();
        }
        header.set_cksum();
        tar.append(&header, *bytes).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

pub(crate) fn wheel() -> Vec<u8> {
    zip_of(&[
        ("pkg/model.pth", b"weights"),
        ("pkg/deep/labels.txt", b"cat\ndog\n"),
        ("pkg-1.2.0.dist-info/METADATA", b"Name: pkg"),
    ])
}

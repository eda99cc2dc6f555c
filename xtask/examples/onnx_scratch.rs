//! Scratch.
fn main() {
    let mut a = std::env::args().skip(1);
    let dir = a.next().unwrap_or_default();
    let only = a.next().unwrap_or_default();
    let out = a.next();
    let opset = a.next().and_then(|o| o.parse().ok()).unwrap_or(17);
    xtask::onnx::check_all(dir.as_ref(), &only, out.as_deref().map(|o| (o.as_ref(), opset)), &|l| {
        println!("{l}")
    })
    .expect("dir");
}

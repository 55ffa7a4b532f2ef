#![allow(missing_docs, clippy::unwrap_used)]
use pyspy_rs::cpython::*;
fn main() {
    env_logger::init();
    let pid = std::env::args().nth(1).unwrap().parse().unwrap();
    let t = std::time::Instant::now();
    let mut p = match PythonProcess::attach(pid) {
        Ok(p) => p,
        Err(e) => {
            println!("{e}\n{}", e.hint());
            return;
        }
    };
    println!(
        "{} {:?} {:?} {:?}",
        p.version(),
        p.found().version_source,
        p.found().roots_source,
        t.elapsed()
    );
    let mut table = FrameTable::default();
    p.begin_sample();
    let list = p.threads().unwrap();
    println!("{:?}", list.errors);
    for th in &list.threads {
        println!(
            "{:?} interp {} gil {} gc {}",
            th.os_thread_id, th.state.interpreter.id, th.owns_gil, th.collecting
        );
        let mut raw = Vec::new();
        if let Err(e) = p.walk(th, &mut raw) {
            println!("ERR {e}");
        }
        match p.resolve(&raw, &mut table) {
            Err(e) => println!("ERR {e}"),
            Ok(f) => {
                for id in f.iter().take(12) {
                    let f = table.get(*id).unwrap();
                    println!(
                        "   {} ({}:{:?}) first {} {:?}",
                        f.name, f.short_filename, f.line, f.first_line, f.columns
                    );
                }
            }
        }
    }
}

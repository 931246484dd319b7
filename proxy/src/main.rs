//! `vestibule`: arguments in, exit code out.

mod cli;

use std::process::ExitCode;

#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // Two crypto providers are linked in; which one TLS takes must be said once, before anything needs it. A second
    // call finds the same provider already there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match cli::main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            failure.exit_code()
        }
    }
}

//! The gateway's client: see [`gateway_user::ctl`].

use std::process::ExitCode;

fn main() -> ExitCode {
    gateway_user::ctl::main()
}

//! Whether ONNX Runtime reports its use to its vendor.

use std::{env, fs};

/// Read by ONNX Runtime when its library is loaded.
const VARIABLE: &str = "ORT_DISABLE_TELEMETRY";

/// Keeps ONNX Runtime from recording the use of this process and from sending it over the network, unless
/// `ORT_DISABLE_TELEMETRY` is set already.
///
/// Version 1.32 does both by default: it writes an id of the machine and a database of events into the home folder, and
/// connects to a server. That `ort` turns its events off comes too late, when the library has been loaded.
///
/// To be called at the start of `main`: it does nothing in a process with several threads, whose environment must not
/// change.
pub fn disable_telemetry() {
    let has_one_thread =
        fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.take(2).count() == 1);
    if env::var_os(VARIABLE).is_some() || !has_one_thread {
        return;
    }
    // SAFETY: this thread is the only one, so none reads or changes the environment meanwhile.
    #[expect(unsafe_code, reason = "ONNX Runtime has no other way to be told in time")]
    unsafe {
        env::set_var(VARIABLE, "1");
    }
}

//! The name of this process.

/// The machine's name (of a container, its own) and the process id, such as `worker-7f9c-1`: to find the process in
/// logs. In a Kubernetes pod, the machine's name is the pod's.
#[must_use]
pub fn process_name() -> String {
    let system = rustix::system::uname();
    format!("{}-{}", system.nodename().to_string_lossy(), std::process::id())
}

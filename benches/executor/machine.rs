//! What the machine is, as far as it matters to the figures, and nothing that says whose it is.

use std::path::Path;

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// One line: processor, kernel, file system, memory.
pub fn facts(folder: &Path) -> String {
    let cpu_info = read("/proc/cpuinfo");
    let field = |name: &str| {
        let line = cpu_info.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let cpu = field("model name").unwrap_or_else(|| "unknown processor".into());
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let kernel = read("/proc/sys/kernel/osrelease");
    let kernel = kernel.trim().split('-').next().unwrap_or_default();
    let memory: u64 =
        read("/proc/meminfo").split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0);
    let virtual_machine = if cpu_info.contains(" hypervisor") { "virtual machine, " } else { "" };
    format!(
        "{virtual_machine}{cores} cores of {cpu}, {} GiB, Linux {kernel}, {}",
        memory.div_ceil(1 << 20),
        file_system(folder)
    )
}

/// The type and options of the mount that the folder lies on.
fn file_system(folder: &Path) -> String {
    let mounts = read("/proc/self/mounts");
    let on = |line: &&str| line.split(' ').nth(1).is_some_and(|mount| folder.starts_with(mount));
    let longest = |line: &&str| line.split(' ').nth(1).map_or(0, str::len);
    let line = mounts.lines().filter(on).max_by_key(longest).unwrap_or_default();
    let mut words = line.split(' ').skip(2);
    format!("{} ({})", words.next().unwrap_or("?"), words.next().unwrap_or("?"))
}

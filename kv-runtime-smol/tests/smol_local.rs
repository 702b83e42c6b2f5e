//! The conformance suite on a `LocalExecutor`: on a disk that loses power, and on files.

mod executors;

mod on_a_simulated_disk {
    kv_tests::conformance!(kv_tests::kvlog::OnSimDisk<super::executors::Local>);
}

mod on_files {
    kv_tests::conformance!(kv_tests::kvlog::OnFiles<super::executors::Local>);
}

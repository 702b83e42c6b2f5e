//! The conformance suite on smol's global executor: on a disk that loses power, and on files.

mod executors;

mod on_a_simulated_disk {
    kv_tests::conformance!(kv_tests::kvlog::OnSimDisk<super::executors::Global>);
}

mod on_files {
    kv_tests::conformance!(kv_tests::kvlog::OnFiles<super::executors::Global>);
}

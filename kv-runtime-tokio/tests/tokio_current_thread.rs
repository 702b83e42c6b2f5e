//! The conformance suite on tokio's current_thread runtime: on a disk that loses power, and on files.

mod executors;

mod on_a_simulated_disk {
    kv_tests::conformance!(kv_tests::kvlog::OnSimDisk<super::executors::CurrentThread>);
}

mod on_files {
    kv_tests::conformance!(kv_tests::kvlog::OnFiles<super::executors::CurrentThread>);
}

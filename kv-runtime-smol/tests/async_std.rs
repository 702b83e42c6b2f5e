//! The conformance suite on async-std, which runs on the smol adapter unchanged: on a disk that loses power, and on files.

mod executors;

mod on_a_simulated_disk {
    kv_tests::conformance!(kv_tests::kvlog::OnSimDisk<super::executors::AsyncStd>);
}

mod on_files {
    kv_tests::conformance!(kv_tests::kvlog::OnFiles<super::executors::AsyncStd>);
}

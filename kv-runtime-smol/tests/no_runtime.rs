//! The conformance suite on no runtime at all: every future is driven by `block_on` on a thread of its own: on a disk that loses power, and on files.

mod executors;

mod on_a_simulated_disk {
    kv_tests::conformance!(kv_tests::kvlog::OnSimDisk<super::executors::NoRuntime>);
}

mod on_files {
    kv_tests::conformance!(kv_tests::kvlog::OnFiles<super::executors::NoRuntime>);
}

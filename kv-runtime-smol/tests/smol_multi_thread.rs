//! The conformance suite on an `Executor` that several threads run: on a disk that loses power, and on files.

mod executors;

mod on_a_simulated_disk {
    use kv_tests::kvlog::{OnSimDisk, SKIPPED_ON_SIM_DISK};

    kv_tests::conformance!(OnSimDisk<super::executors::Threads>, skipping SKIPPED_ON_SIM_DISK);
}

mod on_files {
    use kv_tests::kvlog::{OnFiles, SKIPPED_ON_FILES};

    kv_tests::conformance!(OnFiles<super::executors::Threads>, skipping SKIPPED_ON_FILES);
}

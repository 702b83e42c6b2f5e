//! The conformance suite on no runtime at all: every future is driven by `block_on` on a thread of its own: on a disk that loses power, and on files.

mod executors;

mod on_a_simulated_disk {
    use kv_tests::kvlog::{OnSimDisk, SKIPPED_ON_SIM_DISK, SKIPPED_UNDROPPED};

    kv_tests::conformance!(
        OnSimDisk<super::executors::NoRuntime>,
        skipping [SKIPPED_ON_SIM_DISK, SKIPPED_UNDROPPED].concat()
    );
}

mod on_files {
    use kv_tests::kvlog::{OnFiles, SKIPPED_ON_FILES, SKIPPED_UNDROPPED};

    kv_tests::conformance!(
        OnFiles<super::executors::NoRuntime>,
        skipping [SKIPPED_ON_FILES, SKIPPED_UNDROPPED].concat()
    );
}

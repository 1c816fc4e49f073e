//! The memory that a process has before anything is measured.

use std::hint::black_box;

/// Frees a large block, as a process has that has read its data.
///
/// glibc gives memory at the end of the heap back to the system where there is more of it than twice the largest
/// block that was freed so far, up to 32 MiB. In a process that knows nothing but a small net it does so in nearly every step, and the
/// next one waits for the system to clear it anew: hundreds of page faults, as long as a backward pass. PyTorch, by the
/// time that it is imported, has none.
pub fn settle() {
    drop(black_box(vec![1_u8; 24 << 20]));
}

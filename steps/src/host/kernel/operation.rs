//! One operation of a program that the kernel verifies and loads.

/// One operation: the kernel's `bpf_insn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Operation {
    pub(super) code: u8,
    pub(super) registers: u8,
    pub(super) skip: i16,
    pub(super) value: i32,
}

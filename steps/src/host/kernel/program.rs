//! Classic BPF programs, as values: they pick the listener of a group that gets a new connection.
//!
//! All of them answer to marks: a connection with the mark [`PLACES`]` + i` goes to place i. With these marks
//! [`super::places`] finds the sockets' places without touching other connections.

use crate::host::edge::{MARK_NEWCOMER, MARK_SERVING};

/// One instruction: the kernel's `sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) code: u16,
    pub(super) jt: u8,
    pub(super) jf: u8,
    pub(super) k: u32,
}

/// The mark that leads to place 0. The following marks lead to the following places.
pub(super) const PLACES: u32 = 0xF0;
/// How many places have a mark.
pub(super) const PLACES_MAX: u32 = MARK_SERVING - PLACES;

/// Load a word, load a byte; `k` says from where.
const LDW: u16 = 0x20;
const LDB: u16 = 0x30;
const SUB: u16 = 0x14;
const RSH: u16 = 0x74;
const JEQ: u16 = 0x15;
const JGE: u16 = 0x35;
/// Return `k`; return what was loaded.
const RET: u16 = 0x06;
const RET_A: u16 = 0x16;

/// `SKF_NET_OFF`: where the IP header begins.
const NET: u32 = 0xFFF0_0000;
/// `SKF_AD_OFF + SKF_AD_MARK`: the packet's mark.
const MARK: u32 = 0xFFFF_F000 + 20;

/// `serving` gets every connection, except for those that are marked for the newcomer or go to a loopback
/// address. A new API server asks itself over loopback while it starts, and no other server must answer it.
pub(super) fn prefer(serving: u32, newcomer: u32) -> Vec<Instruction> {
    const LOOPBACK: usize = 19;
    const OTHERS: usize = 20;
    let mut program = by_mark(6, LOOPBACK, OTHERS);
    program.extend([
        op(LDB, NET),
        op(RSH, 4),
        branch(8, JEQ, 4, 9, 11),
        op(LDB, NET + 16),
        branch(10, JEQ, 127, LOOPBACK, OTHERS),
        op(LDW, NET + 24),
        branch(12, JEQ, 0, 13, OTHERS),
        op(LDW, NET + 28),
        branch(14, JEQ, 0, 15, OTHERS),
        op(LDW, NET + 32),
        branch(16, JEQ, 0, 17, OTHERS),
        op(LDW, NET + 36),
        branch(18, JEQ, 1, LOOPBACK, OTHERS),
        op(RET, newcomer),
        op(RET, serving),
    ]);
    program
}

/// `serving` gets every connection.
pub(super) fn all_to(serving: u32) -> Vec<Instruction> {
    let mut program = by_mark(6, 6, 6);
    program.push(op(RET, serving));
    program
}

/// As a socket's filter: the socket sees no packet at all.
pub(super) fn nothing() -> Vec<Instruction> {
    vec![op(RET, 0)]
}

/// The first six instructions. A place's mark leads there, the others to instructions of the caller's.
fn by_mark(unmarked: usize, newcomer: usize, serving: usize) -> Vec<Instruction> {
    vec![
        op(LDW, MARK),
        op(SUB, PLACES),
        branch(2, JEQ, MARK_NEWCOMER - PLACES, newcomer, 3),
        branch(3, JEQ, MARK_SERVING - PLACES, serving, 4),
        // Unsigned: a smaller mark, or no mark, is a very large number now.
        branch(4, JGE, PLACES_MAX, unmarked, 5),
        op(RET_A, 0),
    ]
}

fn op(code: u16, k: u32) -> Instruction {
    Instruction { code, jt: 0, jf: 0, k }
}

/// The instruction at `at` compares with `k` and goes on at `yes` or at `no`, both after it.
fn branch(at: usize, code: u16, k: u32, yes: usize, no: usize) -> Instruction {
    let skip = |to: usize| u8::try_from(to - at - 1).expect("programs are short, and written above");
    Instruction { code, jt: skip(yes), jf: skip(no), k }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::IpAddr;

    /// The classic BPF machine, as far as these programs use it.
    fn run(program: &[Instruction], mark: u32, destination: IpAddr) -> u32 {
        let mut header = [0_u8; 40];
        match destination {
            IpAddr::V4(v4) => {
                header[0] = 0x45;
                header[16..20].copy_from_slice(&v4.octets());
            }
            IpAddr::V6(v6) => {
                header[0] = 0x60;
                header[24..40].copy_from_slice(&v6.octets());
            }
        }
        let (mut a, mut at) = (0_u32, 0);
        loop {
            let Instruction { code, jt, jf, k } = program[at];
            at += 1;
            let from = k.wrapping_sub(NET) as usize;
            match code {
                LDW if k == MARK => a = mark,
                LDW => a = u32::from_be_bytes(header[from..from + 4].try_into().unwrap()),
                LDB => a = header[from].into(),
                SUB => a = a.wrapping_sub(k),
                RSH => a >>= k,
                JEQ => at += usize::from(if a == k { jt } else { jf }),
                JGE => at += usize::from(if a >= k { jt } else { jf }),
                RET => return k,
                RET_A => return a,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    proptest! {
        #[test]
        fn the_destination_and_the_mark_decide(
            mark in prop_oneof![Just(0_u32), 0xE8_u32..0x108, any::<u32>()],
            destination in prop_oneof![
                any::<[u8; 4]>().prop_map(IpAddr::from),
                any::<[u8; 16]>().prop_map(IpAddr::from),
                any::<[u8; 3]>().prop_map(|[a, b, c]| IpAddr::from([127, a, b, c])),
                (0_usize..16, 0_u8..3).prop_map(|(byte, value)| {
                    let mut loopback = std::net::Ipv6Addr::LOCALHOST.octets();
                    loopback[byte] = value;
                    IpAddr::from(loopback)
                }),
            ],
        ) {
            let by_mark = match mark {
                MARK_NEWCOMER => Some(31),
                MARK_SERVING => Some(30),
                0xF0..=0xFD => Some(mark - 0xF0),
                _ => None,
            };
            let expected = by_mark.unwrap_or(if destination.is_loopback() { 31 } else { 30 });
            prop_assert_eq!(run(&prefer(30, 31), mark, destination), expected);
            let expected = by_mark.filter(|place| *place < 30).unwrap_or(30);
            prop_assert_eq!(run(&all_to(30), mark, destination), expected);
        }
    }

    /// The program as the kernel gets it, byte for byte: older versions have put it on live listeners.
    #[test]
    fn a_program_is_these_instructions() {
        let raw: Vec<_> = all_to(1).iter().map(|i| (i.code, i.jt, i.jf, i.k)).collect();
        let expected = [
            (0x20, 0, 0, 0xFFFF_F014),
            (0x14, 0, 0, 0xF0),
            (0x15, 3, 0, 15),
            (0x15, 2, 0, 14),
            (0x35, 1, 0, 14),
            (0x16, 0, 0, 0),
            (0x06, 0, 0, 1),
        ];
        assert_eq!(raw, expected);
        assert_eq!(prefer(0, 1).len(), 21);
    }
}

//! Questions to the kernel over `netlink(7)`, and its answers.

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};

/// `NLMSG_ERROR`, which also reports success, and `NLMSG_DONE`, the end of a list.
const OUTCOME: u16 = 2;
const END: u16 = 3;
/// `NLM_F_REQUEST` with `NLM_F_ACK` and with `NLM_F_DUMP`.
const ACT: u16 = 0x1 | 0x4;
const LIST: u16 = 0x1 | 0x300;
/// The lengths of `nlmsghdr` and `nlattr`.
const HEADER: usize = 16;
const ATTRIBUTE: usize = 4;
/// `NLA_F_NESTED`, and the mask that leaves an attribute's kind without it and `NLA_F_NET_BYTEORDER`.
const NESTED: u16 = 0x8000;
const KIND: u16 = 0x3FFF;

/// A connection to one of the kernel's parts.
pub(super) struct Netlink {
    socket: OwnedFd,
}

impl Netlink {
    pub(super) fn open(protocol: Protocol) -> rustix::io::Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(protocol))?;
        Ok(Self { socket })
    }

    /// Asks for one thing, or asks the kernel to do one. Passes on what follows the header of each message of
    /// the answer.
    pub(super) fn act(&self, kind: u16, body: &[u8], each: impl FnMut(&[u8])) -> rustix::io::Result<()> {
        self.exchange(kind, ACT, body, each)
    }

    /// Asks for a list. Passes on what follows the header of each of its messages.
    pub(super) fn list(&self, kind: u16, body: &[u8], each: impl FnMut(&[u8])) -> rustix::io::Result<()> {
        self.exchange(kind, LIST, body, each)
    }

    fn exchange(
        &self,
        kind: u16,
        flags: u16,
        body: &[u8],
        mut each: impl FnMut(&[u8]),
    ) -> rustix::io::Result<()> {
        let length = u32::try_from(HEADER + body.len()).map_err(|_| Errno::MSGSIZE)?;
        let mut message = length.to_ne_bytes().to_vec();
        message.extend([kind.to_ne_bytes(), flags.to_ne_bytes()].concat());
        message.extend([0; 8]); // Our sequence number, our port.
        message.extend(body);
        send(&self.socket, &message, SendFlags::empty())?;
        let mut answer = vec![0; 32 * 1024];
        loop {
            // The kernel has answered before `send` returned, and with the rest before `recv` did.
            let (length, _) = recv(&self.socket, answer.as_mut_slice(), RecvFlags::DONTWAIT)?;
            if is_all(&answer[..length], &mut each)? {
                return Ok(());
            }
        }
    }
}

/// Takes in what was received at once. Returns whether it is the last of the answer.
fn is_all(mut answer: &[u8], each: &mut impl FnMut(&[u8])) -> rustix::io::Result<bool> {
    while let Some(length) = number(answer).map(|length| length as usize) {
        let message = answer.get(..length).filter(|_| length >= HEADER).ok_or(Errno::PROTO)?;
        let body = &message[HEADER..];
        match u16::from_ne_bytes([message[4], message[5]]) {
            // An error may also come at the end of a list.
            END | OUTCOME => {
                return match number(body).ok_or(Errno::PROTO)?.cast_signed() {
                    0 => Ok(true),
                    errno => Err(Errno::from_raw_os_error(errno.wrapping_neg())),
                };
            }
            _ => each(body),
        }
        answer = answer.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

/// The number that begins here.
pub(super) fn number(at: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(*at.first_chunk()?))
}

/// The content of the attribute of this kind.
pub(super) fn find(mut attributes: &[u8], kind: u16) -> Option<&[u8]> {
    loop {
        let head: &[u8; ATTRIBUTE] = attributes.first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let content = attributes.get(ATTRIBUTE..length)?;
        if u16::from_ne_bytes([head[2], head[3]]) & KIND == kind {
            return Some(content);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

/// An attribute that consists of attributes.
pub(super) fn nested(kind: u16, content: &[u8]) -> Vec<u8> {
    attribute(kind | NESTED, content)
}

/// An attribute, padded to where the next one begins.
pub(super) fn attribute(kind: u16, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(ATTRIBUTE + content.len()).unwrap_or_default();
    let mut attribute = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    attribute.extend(content);
    attribute.resize(attribute.len().next_multiple_of(4), 0);
    attribute
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER + body.len()).unwrap();
        let mut message = length.to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.resize(HEADER, 0);
        message.extend(body);
        message.resize(message.len().next_multiple_of(4), 0);
        message
    }

    #[test]
    fn an_answer_ends_with_its_outcome() {
        let errno = |errno: i32| errno.to_ne_bytes();
        for (last, expected) in [
            (None, Ok(false)),
            (Some((OUTCOME, 0)), Ok(true)),
            (Some((END, 0)), Ok(true)),
            (Some((OUTCOME, -2)), Err(Errno::NOENT)),
            (Some((END, -2)), Err(Errno::NOENT)),
        ] {
            let mut answer = [message(100, b"one"), message(100, b"another")].concat();
            answer.extend(last.into_iter().flat_map(|(kind, outcome)| message(kind, &errno(outcome))));
            let mut seen = Vec::new();
            let is_all = is_all(&answer, &mut |body: &[u8]| seen.push(body.to_vec()));
            assert_eq!((is_all, seen), (expected, vec![b"one".to_vec(), b"another".to_vec()]));
        }
        for cut in [message(END, &[]), message(100, b"three")[..18].to_vec(), [4; 20].to_vec()] {
            assert_eq!(is_all(&cut, &mut |_| ()), Err(Errno::PROTO), "{cut:?}");
        }
    }

    #[test]
    fn attributes_are_found_as_they_are_written() {
        let inner = [attribute(1, b"a"), attribute(2, b"bcdef")].concat();
        let all = [attribute(7, b"x"), nested(3, &inner), attribute(4, &[])].concat();
        assert_eq!(find(&all, 3), Some(inner.as_slice()));
        assert_eq!(find(&inner, 2), Some(b"bcdef".as_slice()));
        assert_eq!((find(&all, 4), find(&all, 5)), (Some([].as_slice()), None));
        assert_eq!((find(&all[..9], 3), find(&[], 3), find(&[0; 8], 3)), (None, None, None), "cut");
    }
}

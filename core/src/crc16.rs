//! CRC16/XMODEM, which decides the slot of a key: eight bytes at a time, since every command with a key pays for it.

/// The polynomial x^16 + x^12 + x^5 + 1.
const POLYNOMIAL: u16 = 0x1021;

/// `TABLES[n][byte]` is the checksum of `byte` and `n` zero bytes behind it.
static TABLES: [[u16; 256]; 8] = tables();

/// The checksum of `bytes`.
pub(crate) fn checksum(bytes: &[u8]) -> u16 {
    // Zeros in front change nothing, so that what does not fill eight bytes makes a short first block.
    let (head, rest) = bytes.split_at(bytes.len() % 8);
    let head = head.iter().fold(0u64, |block, &byte| (block << 8) | u64::from(byte));
    let first = if head == 0 { 0 } else { add(0, head.to_be_bytes()) };
    rest.as_chunks().0.iter().fold(first, |crc, &block| add(crc, block))
}

/// The checksum of what has `crc`, and a block behind it. The eight looks into the tables do not wait for each other.
#[inline]
fn add(crc: u16, [a, b, c, d, e, f, g, h]: [u8; 8]) -> u16 {
    let [high, low] = crc.to_be_bytes();
    let look = |zeros: usize, byte: u8| TABLES[zeros][usize::from(byte)];
    let front = look(7, a ^ high) ^ look(6, b ^ low) ^ look(5, c) ^ look(4, d);
    front ^ look(3, e) ^ look(2, f) ^ look(1, g) ^ look(0, h)
}

const fn tables() -> [[u16; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut zeros = 0;
        while zeros <= 8 {
            if zeros > 0 {
                tables[zeros - 1][byte] = crc;
            }
            let mut bit = 0;
            while bit < 8 {
                crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ POLYNOMIAL };
                bit += 1;
            }
            zeros += 1;
        }
        byte += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::checksum;
    use crate::rng::Rng;

    #[test]
    fn agrees_with_one_bit_at_a_time() {
        assert_eq!(checksum(b"123456789"), 0x31c3);
        let reference = crc::Crc::<u16, crc::NoTable>::new(&crc::CRC_16_XMODEM);
        let mut rng = Rng::new(7);
        for len in 0..200 {
            let bytes: Vec<u8> = (0..len).map(|_| rng.bits() as u8).collect();
            assert_eq!(checksum(&bytes), reference.checksum(&bytes), "{}", bytes.escape_ascii());
        }
        assert_eq!(checksum(b"\0\0\0a"), reference.checksum(b"\0\0\0a"));
    }
}

//! CRC-64 with Jones's polynomial, reflected, from zero: the checksum of everything in RDB form. Eight bytes a step, since
//! a value may be tens of megabytes and is checked where an entry is applied.

const POLYNOMIAL: u64 = 0x95ac_9329_ac4b_c9b5;
const STEP_BYTES: usize = 8;

/// `TABLES[n][b]` is the sum of byte `b` with `n` zero bytes after it.
static TABLES: [[u64; 256]; STEP_BYTES] = tables();

const fn tables() -> [[u64; 256]; STEP_BYTES] {
    let mut tables = [[0; 256]; STEP_BYTES];
    let mut byte = 0;
    while byte < 256 {
        let (mut sum, mut bit) = (byte as u64, 0);
        while bit < 8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ POLYNOMIAL } else { sum >> 1 };
            bit += 1;
        }
        tables[0][byte] = sum;
        byte += 1;
    }
    let mut zeros = 1;
    while zeros < STEP_BYTES {
        byte = 0;
        while byte < 256 {
            let before = tables[zeros - 1][byte];
            tables[zeros][byte] = before >> 8 ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        zeros += 1;
    }
    tables
}

/// The checksum.
pub fn crc64(bytes: &[u8]) -> u64 {
    let mut sum = 0_u64;
    let (steps, rest) = bytes.as_chunks::<STEP_BYTES>();
    for step in steps {
        let mixed = (sum ^ u64::from_le_bytes(*step)).to_le_bytes();
        sum = (0..STEP_BYTES).fold(0, |sum, at| sum ^ TABLES[STEP_BYTES - 1 - at][usize::from(mixed[at])]);
    }
    for byte in rest {
        sum = sum >> 8 ^ TABLES[0][usize::from(sum as u8 ^ byte)];
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_is_that_of_redis() {
        assert_eq!(crc64(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        assert_eq!(crc64(b""), 0);
        let text = b"This is a test of the emergency broadcast system.";
        // Steps of eight and single bytes agree.
        let by_bytes = text.iter().fold(0_u64, |sum, byte| sum >> 8 ^ TABLES[0][usize::from(sum as u8 ^ byte)]);
        assert_eq!(crc64(text), by_bytes);
    }
}

//! The bound on what reading one file may cost.
//!
//! A P12 of one kilobyte may ask for 2³¹−1 iterations, which pins a core for minutes and cannot be
//! cancelled. So every count is charged here when it is read from the ASN.1, before any key is
//! derived from it; `pbe` makes nothing derivable that was not charged.

use std::fmt;

/// Most iterations of one key derivation.
pub const MAX_ITERATIONS: u64 = 1_000_000;
/// Most iterations of all key derivations of one file together.
pub const MAX_ITERATIONS_IN_ALL: u64 = 4_000_000;
/// Most memory of one scrypt, in bytes: 128·N·r, and times p, which is its work.
pub const MAX_SCRYPT_BYTES: u64 = 64 << 20;
/// Most scrypt work of one file, in the same unit.
pub const MAX_SCRYPT_BYTES_IN_ALL: u64 = 4 * MAX_SCRYPT_BYTES;
/// Most keys, certificates and encrypted parts of one file.
pub const MAX_PARTS: u64 = 100;

/// What a file asks for beyond the bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excess {
    /// This many iterations in one key derivation.
    Iterations(u64),
    /// Too many iterations in all key derivations together.
    IterationsInAll,
    /// Too many keys, certificates and encrypted parts.
    Parts,
    /// This many bytes of memory for one scrypt, or as much work as that.
    ScryptBytes(u64),
    /// Too much scrypt work in all.
    ScryptBytesInAll,
}

impl fmt::Display for Excess {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Iterations(count) => write!(
                formatter,
                "its key derivation asks for {count} iterations, at most {MAX_ITERATIONS} are \
                 allowed"
            ),
            Self::IterationsInAll => write!(
                formatter,
                "its key derivations together ask for more than the {MAX_ITERATIONS_IN_ALL} \
                 iterations that are allowed"
            ),
            Self::Parts => write!(
                formatter,
                "it has more than the {MAX_PARTS} keys, certificates and encrypted parts that are \
                 allowed"
            ),
            Self::ScryptBytes(bytes) => write!(
                formatter,
                "its scrypt parameters ask for {bytes} bytes, at most {MAX_SCRYPT_BYTES} are \
                 allowed"
            ),
            Self::ScryptBytesInAll => write!(
                formatter,
                "its scrypt parameters together ask for more than the {MAX_SCRYPT_BYTES_IN_ALL} \
                 bytes that are allowed"
            ),
        }
    }
}

/// What one file may still ask for.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    iterations: u64,
    parts: u64,
    scrypt_bytes: u64,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self {
            iterations: MAX_ITERATIONS_IN_ALL,
            parts: MAX_PARTS,
            scrypt_bytes: MAX_SCRYPT_BYTES_IN_ALL,
        }
    }

    /// Charges one key derivation of `count` iterations.
    pub(super) fn iterations(&mut self, count: u64) -> Result<(), Excess> {
        if count > MAX_ITERATIONS {
            return Err(Excess::Iterations(count));
        }
        self.iterations = self.iterations.checked_sub(count).ok_or(Excess::IterationsInAll)?;
        Ok(())
    }

    /// Charges one key, certificate or encrypted part.
    pub(super) fn part(&mut self) -> Result<(), Excess> {
        self.parts = self.parts.checked_sub(1).ok_or(Excess::Parts)?;
        Ok(())
    }

    /// Charges one scrypt with the parameters N, r and p of RFC 7914.
    pub(super) fn scrypt(&mut self, n: u64, r: u64, p: u64) -> Result<(), Excess> {
        let bytes = [n, r, p].into_iter().fold(128_u64, u64::saturating_mul);
        if bytes > MAX_SCRYPT_BYTES {
            return Err(Excess::ScryptBytes(bytes));
        }
        self.scrypt_bytes = self.scrypt_bytes.checked_sub(bytes).ok_or(Excess::ScryptBytesInAll)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_derivation_may_take_a_million_iterations_and_no_more() {
        assert_eq!(Budget::new().iterations(1_000_000), Ok(()));
        assert_eq!(Budget::new().iterations(1_000_001), Err(Excess::Iterations(1_000_001)));
    }

    #[test]
    fn all_derivations_together_are_bounded() {
        let mut budget = Budget::new();

        let charged = [(); 5].map(|()| budget.iterations(1_000_000));

        assert_eq!(charged, [Ok(()), Ok(()), Ok(()), Ok(()), Err(Excess::IterationsInAll)]);
    }

    #[test]
    fn scrypt_is_bounded_in_memory_and_work() {
        assert_eq!(Budget::new().scrypt(1 << 16, 8, 1), Ok(()));
        assert_eq!(Budget::new().scrypt(1 << 17, 8, 1), Err(Excess::ScryptBytes(128 << 20)));
        assert_eq!(Budget::new().scrypt(1 << 16, 8, 2), Err(Excess::ScryptBytes(128 << 20)));
        assert_eq!(Budget::new().scrypt(u64::MAX, u64::MAX, 1), Err(Excess::ScryptBytes(u64::MAX)));
    }
}

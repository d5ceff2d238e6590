//! Shamir's secret sharing over GF(2^8), a byte at a time.
//!
//! Each byte of the secret is the constant term of a polynomial of degree `threshold - 1` whose
//! other coefficients are uniformly random, zero included, the highest too: any other choice
//! tells something to fewer than `threshold` holders. Share number `x` is its value at `x`.
//!
//! Why own code: of the crates, `sharks` is abandoned with a known flaw (RUSTSEC-2024-0398), its
//! successor `blahaj` looks secret bytes up in tables, `vsss-rs` brings elliptic curves for what
//! takes forty lines, and none has a share that says which set it belongs to.

use kta_core::crypto::SecretKey;
use kta_core::time::Entropy;
use zeroize::Zeroizing;

/// The values at 1 to `shares` of polynomials through `secret` at 0.
pub(super) fn split(
    secret: &SecretKey,
    threshold: u8,
    shares: u8,
    entropy: &dyn Entropy,
) -> Vec<SecretKey> {
    let random = (1..threshold).map(|_| SecretKey::random(entropy));
    // From the highest power down.
    let coefficients: Vec<SecretKey> = random.collect();
    (1..=shares)
        .map(|x| value_at(x, secret, &coefficients))
        .collect()
}

/// The value at 0 of the polynomials of least degree through these points, whose numbers are
/// distinct and not zero.
pub(super) fn interpolate(points: &[(u8, &SecretKey)]) -> SecretKey {
    let mut secret = Zeroizing::new([0; SecretKey::LENGTH]);
    for (x, value) in points {
        // Lagrange's factor at 0; minus is plus here.
        let factor = points
            .iter()
            .filter(|(other, _)| other != x)
            .fold(1, |factor, (other, _)| {
                multiply(factor, multiply(*other, inverse(other ^ x)))
            });
        for (byte, part) in secret.iter_mut().zip(value.expose()) {
            *byte ^= multiply(*part, factor);
        }
    }
    SecretKey::from_bytes(*secret)
}

fn value_at(x: u8, secret: &SecretKey, coefficients: &[SecretKey]) -> SecretKey {
    let mut value = Zeroizing::new([0; SecretKey::LENGTH]);
    for coefficient in coefficients.iter().chain([secret]) {
        for (byte, part) in value.iter_mut().zip(coefficient.expose()) {
            *byte = multiply(*byte, x) ^ part;
        }
    }
    SecretKey::from_bytes(*value)
}

/// The product in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1 (the field of AES). No table and no
/// branch depends on the factors.
const fn multiply(mut a: u8, mut b: u8) -> u8 {
    let mut product = 0;
    let mut bits = 8;
    while bits > 0 {
        product ^= a & 0u8.wrapping_sub(b & 1);
        a = (a << 1) ^ (0x1B & 0u8.wrapping_sub(a >> 7));
        b >>= 1;
        bits -= 1;
    }
    product
}

/// The inverse: the 254th power, 254 being 2 + 4 + … + 128. Of share numbers only, no secrets.
const fn inverse(a: u8) -> u8 {
    let (mut square, mut power) = (a, 1);
    let mut left = 7;
    while left > 0 {
        square = multiply(square, square);
        power = multiply(power, square);
        left -= 1;
    }
    power
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(hex: &str) -> SecretKey {
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap();
        }
        SecretKey::from_bytes(bytes)
    }

    #[test]
    fn every_number_has_its_inverse_and_products_are_those_of_aes() {
        // FIPS 197, 4.2.
        assert_eq!(multiply(0x57, 0x83), 0xC1);
        assert_eq!(multiply(0x57, 0x13), 0xFE);
        for a in 1..=255 {
            assert_eq!(multiply(a, inverse(a)), 1);
        }
    }

    /// A second opinion: shares that another program made (pyshamir 1.1.0, a port of what
    /// HashiCorp Vault does), three needed of five.
    #[test]
    fn shares_of_another_program_combine() {
        let secret = SecretKey::from_bytes(core::array::from_fn(|at| 0xA0 + at as u8));
        let shares = [
            (
                4,
                "e46b327f4b038dbfd15a53defb74ce7bb52055270e1ffbd51d25428877fba7a2",
            ),
            (
                242,
                "7d8eacc880cc78e6848ddee94d0d03780703681ef34e8659ce44d3f0eee37140",
            ),
            (
                7,
                "ac3110b066b7fec84e3fde9e86270be96f6940ec1c0002473f0a299253cf8bda",
            ),
            (
                202,
                "d83f02be371c7aab6da7912e6cd07789d4051cc747ba70f7b6d564cb0fd7bd82",
            ),
            (
                33,
                "8b04257a3e6d130ba4342f146065e31cef952bc3204dea5fa85ce8e7dd15b733",
            ),
        ]
        .map(|(x, hex)| (x, key(hex)));
        for chosen in [&[0, 1, 2][..], &[4, 2, 0], &[1, 3, 4], &[0, 1, 2, 3, 4]] {
            let points: Vec<_> = chosen
                .iter()
                .map(|at| (shares[*at].0, &shares[*at].1))
                .collect();
            assert!(interpolate(&points) == secret, "{chosen:?}");
        }
        assert!(interpolate(&[(4, &shares[0].1), (242, &shares[1].1)]) != secret);
    }

    /// What holders of one share less can know is nothing at all: over all coefficients, whatever
    /// the secret byte, they see every combination of values exactly once. Counted in full for
    /// two of any and three of any; that it holds for more is Shamir's theorem, not this test's.
    #[test]
    fn one_share_less_is_equally_likely_for_every_secret() {
        for secret in [0, 1, 0x80, 0xFF] {
            for x in [1, 2, 254, 255] {
                let mut seen = [false; 256];
                for a in 0..=255 {
                    seen[usize::from(multiply(a, x) ^ secret)] = true;
                }
                assert!(seen.iter().all(|seen| *seen));
            }
        }
        for (secret, x, y) in [(0, 1, 2), (0x5A, 3, 255)] {
            let mut seen = vec![false; 65_536];
            for a in 0..=255 {
                for b in 0..=255 {
                    let at = |x| multiply(multiply(a, x) ^ b, x) ^ secret;
                    seen[usize::from(at(x)) << 8 | usize::from(at(y))] = true;
                }
            }
            assert!(seen.iter().all(|seen| *seen));
        }
    }
}

//! Recognises RSA moduli of the Infineon generator (CVE-2017-15361, "ROCA"), which can be factored.
//!
//! Its primes are `k·M + (65537^a mod M)` for a product `M` of small primes, so modulo each of those
//! primes the modulus is a power of 65537. For a modulus of another generator all of them holding
//! is a chance of less than 2^-27 (Nemec et al., "The Return of Coppersmith's Attack", CCS 2017).

/// Small primes that divide `M` for every key size.
const PRIMES: [u16; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109,
    113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];

/// Tells whether the big-endian `modulus` carries the mark.
pub(super) fn is_suspect(modulus: &[u8]) -> bool {
    PRIMES.iter().all(|&prime| is_power_of_65537(remainder(modulus, prime), prime))
}

fn remainder(number: &[u8], prime: u16) -> u16 {
    let prime = u32::from(prime);
    let rest = number.iter().fold(0_u32, |rest, &octet| ((rest << 8) | u32::from(octet)) % prime);
    u16::try_from(rest).unwrap_or_default()
}

fn is_power_of_65537(residue: u16, prime: u16) -> bool {
    let (residue, prime) = (u32::from(residue), u32::from(prime));
    let base = 65_537 % prime;
    let mut power = 1;
    for _ in 0..prime {
        if power == residue {
            return true;
        }
        power = power * base % prime;
    }
    false
}

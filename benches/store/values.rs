//! What every contestant is filled with; this file is part of the SQLCipher peer's program too.

/// The columns of the peers.
pub(crate) const COLUMNS: &str = "family_name, given_names, birth_date, birth_place, nationality,
    passport_number, email, phone, address, notes";

/// How many purposes the peers' second index tells apart.
pub(crate) const PURPOSES: usize = 50;

/// The values of one person: nine short ones and 800 bytes of notes.
pub(crate) fn of(number: usize) -> [String; 10] {
    let word = |salt: usize, length: usize| -> String {
        let mut state = (number as u64) << 8 | salt as u64;
        let letter = |_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            char::from(b'a' + (state >> 33) as u8 % 26)
        };
        (0..length).map(letter).collect()
    };
    [
        word(0, 12),
        word(1, 14),
        format!(
            "19{:02}-{:02}-{:02}",
            number % 90 + 10,
            number % 12 + 1,
            number % 28 + 1
        ),
        word(3, 14),
        word(4, 12),
        format!("QX{:09}", number % 1_000_000_000),
        format!("{}.{number:07}@invented.example", word(6, 8)),
        format!("+1 202 {:07}", number % 10_000_000),
        word(8, 70),
        word(9, 800),
    ]
}

/// The peers' key of a person's row: sixteen bytes without order.
pub(crate) fn key(number: usize) -> [u8; 16] {
    let mix = |mut state: u64| {
        state = (state ^ state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        state = (state ^ state >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        state ^ state >> 31
    };
    let high = mix((number as u64).wrapping_add(0x9E37_79B9_7F4A_7C15));
    (u128::from(high) << 64 | u128::from(mix(high))).to_be_bytes()
}

/// Numbers below `many`, at random and the same in every run.
pub(crate) fn at_random(many: usize, seed: u64) -> impl FnMut() -> usize {
    let mut state = seed;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % many as u64) as usize
    }
}

//! Random numbers that are the same on every run: SplitMix64, by seed and by place.

/// A stream of numbers from one seed.
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(scramble(seed ^ 0x6f76_6572_7265_6164))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        scramble(self.0)
    }

    /// Uniform in [0, 1).
    pub(super) fn unit(&mut self) -> f32 {
        unit(self.next())
    }

    pub(super) fn within(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    pub(super) fn sign(&mut self) -> f32 {
        if self.next() & 1 == 0 { -1.0 } else { 1.0 }
    }

    /// Uniform among 0 … `count` − 1; the bias of the remainder is of no matter here.
    pub(super) fn below(&mut self, count: u64) -> u64 {
        self.next() % count
    }
}

/// Two independent normal deviates for one place of one seed, so that slices can be made in any order.
pub(super) fn normal_pair(seed: u64, place: u64) -> [f32; 2] {
    let first = scramble(seed ^ scramble(place.wrapping_mul(2).wrapping_add(1)));
    let second = scramble(first ^ 0xd1b5_4a32_d192_ed03);
    // 1 − u is never zero, so the logarithm is finite.
    let radius = (-2.0 * (1.0 - unit(first)).ln()).sqrt();
    let (sine, cosine) = (std::f32::consts::TAU * unit(second)).sin_cos();
    [radius * cosine, radius * sine]
}

fn unit(bits: u64) -> f32 {
    // The upper 24 bits fill an f32's mantissa exactly.
    (bits >> 40) as f32 / 16_777_216.0
}

fn scramble(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

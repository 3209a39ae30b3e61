//! Display colours as CIELab in 16 bits (PS3.3 §C.10.7.1.1): D50, L* 0 to 100, a* and b* -128 to 127.

/// Colours for segments whose description has none: easy to tell apart on grey images, also next to each other.
const PALETTE: [[u8; 3]; 12] = [
    [230, 75, 60],
    [70, 170, 240],
    [80, 200, 90],
    [250, 200, 50],
    [180, 90, 220],
    [60, 210, 200],
    [245, 140, 40],
    [240, 110, 180],
    [150, 200, 40],
    [110, 120, 245],
    [200, 150, 110],
    [160, 220, 255],
];

/// The colour of a segment by its position when its description has none.
pub(crate) fn of_position(index: usize) -> [u8; 3] {
    PALETTE[index % PALETTE.len()]
}

/// Recommended Display CIELab Value (0062,000D) of an sRGB colour.
pub(crate) fn cielab(rgb: [u8; 3]) -> [u16; 3] {
    let [x, y, z] = relative_xyz(rgb.map(linear)).map(curve);
    let lightness = 116.0 * y - 16.0;
    let a = 500.0 * (x - y);
    let b = 200.0 * (y - z);
    [scaled(lightness / 100.0), scaled((a + 128.0) / 255.0), scaled((b + 128.0) / 255.0)]
}

fn scaled(fraction: f64) -> u16 {
    (fraction.clamp(0.0, 1.0) * f64::from(u16::MAX)).round() as u16
}

/// IEC 61966-2-1: the light that an sRGB value stands for.
fn linear(value: u8) -> f64 {
    let value = f64::from(value) / 255.0;
    if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
}

/// XYZ adapted to D50 (Bradford), relative to the white point.
fn relative_xyz([red, green, blue]: [f64; 3]) -> [f64; 3] {
    let x = 0.436_074_7 * red + 0.385_064_9 * green + 0.143_080_4 * blue;
    let y = 0.222_504_5 * red + 0.716_878_6 * green + 0.060_616_9 * blue;
    let z = 0.013_932_2 * red + 0.097_104_5 * green + 0.714_173_3 * blue;
    [x / 0.964_22, y, z / 0.825_21]
}

fn curve(value: f64) -> f64 {
    const BREAK: f64 = 216.0 / 24_389.0;
    const SLOPE: f64 = 24_389.0 / 27.0;
    if value > BREAK { value.cbrt() } else { (SLOPE * value + 16.0) / 116.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rgb: [u8; 3], lab: [f64; 3]) {
        let [l, a, b] = cielab(rgb).map(f64::from);
        let got = [l / 655.35, a / 257.0 - 128.0, b / 257.0 - 128.0];
        for (got, expected) in got.iter().zip(lab) {
            assert!((got - expected).abs() < 0.05, "{rgb:?}: {got} instead of {expected}");
        }
    }

    #[test]
    fn primary_colours_have_their_published_d50_values() {
        check([0, 0, 0], [0.0, 0.0, 0.0]);
        check([255, 255, 255], [100.0, 0.0, 0.0]);
        check([255, 0, 0], [54.29, 80.81, 69.89]);
        check([0, 255, 0], [87.82, -79.29, 80.99]);
        check([0, 0, 255], [29.57, 68.30, -112.03]);
    }
}

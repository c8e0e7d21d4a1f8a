use std::fmt::Write as _;

use qrcode::{Color, EcLevel, QrCode};

/// Draws a text as a QR code, an `svg` element without styles and scripts. `None` when it is too long for one.
pub(crate) fn draw(text: &str) -> Option<String> {
    let code = QrCode::with_error_correction_level(text, EcLevel::M).ok()?;
    let width = code.width();
    let side = width + 2 * QUIET;
    let mut path = String::new();
    for (at, color) in code.to_colors().into_iter().enumerate() {
        if color == Color::Dark {
            let _ = write!(path, "M{} {}h1v1h-1z", at % width + QUIET, at / width + QUIET);
        }
    }
    Some(format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side} {side}" role="img" aria-label="QR code" shape-rendering="crispEdges"><rect width="{side}" height="{side}" fill="#fff"/><path fill="#000" d="{path}"/></svg>"##
    ))
}

/// The white rim that readers need, in modules.
const QUIET: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_squares_within_the_rim_and_nothing_of_the_text_and_refuses_what_is_too_long() {
        let svg = draw("otpauth://totp/a:b?secret=JBSWY3DPEHPK3PXP&issuer=\"><script>").unwrap();
        assert!(!svg.contains("script") && !svg.contains("JBSWY") && !svg.contains("style"));
        // The upper left finder pattern begins where the rim ends.
        assert!(svg.contains("d=\"M4 4h1v1h-1zM5 4h1v1h-1z"), "{svg}");
        assert!(!svg.contains("M3 ") && !svg.contains(" 3h1"));
        assert_eq!(draw(&"x".repeat(4000)), None);
    }
}

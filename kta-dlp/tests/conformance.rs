//! The contract of the port `Scanner`.

use kta_dlp::DlpScanner;

async fn fresh() -> DlpScanner {
    DlpScanner::new()
}

kta_core::scanner_conformance!(
    #[tokio::test]
    fresh
);

//! Sentences for people, in Korean and English.

use axum::http::{HeaderMap, header};

use crate::error::Code;

/// What the caller reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    English,
    Korean,
}

impl Language {
    /// RFC 9110 §12.5.4: the one with the highest weight, the first of equals, else English.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let wanted = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or("");
        let mut best = (0.0, Self::English);
        for entry in wanted.split(',') {
            let mut words = entry.split(';');
            let tag = words.next().unwrap_or("").trim().to_ascii_lowercase();
            let language = match tag.split('-').next() {
                Some("ko") => Self::Korean,
                Some("en") => Self::English,
                _ => continue,
            };
            let weight = words.find_map(|word| word.trim().strip_prefix("q=")?.parse().ok()).unwrap_or(1.0);
            if weight > best.0 {
                best = (weight, language);
            }
        }
        best.1
    }

    /// What a person is told, where the contract has no words of its own.
    pub(crate) fn sentence(self, code: Code) -> Option<&'static str> {
        let (english, korean) = match code {
            Code::RateLimited | Code::AccountLocked => (
                "Too many requests. Please try again later.",
                "요청이 너무 많습니다. 잠시 후 다시 시도해 주세요.",
            ),
            Code::Overloaded | Code::TimedOut | Code::Unavailable | Code::BadGateway => {
                ("The AI server does not answer", "AI 서버가 응답하지 않습니다")
            }
            Code::BodyTooLarge => ("The request is too large.", "요청의 크기가 너무 큽니다."),
            Code::InvalidDicom => ("This image format is not supported", "지원하지 않는 이미지 형식입니다"),
            Code::StorageFull => ("There is no room to store this.", "저장 공간이 부족합니다."),
            Code::Internal => ("Something went wrong on the server.", "서버에서 오류가 발생했습니다."),
            _ => return None,
        };
        Some(match self {
            Self::English => english,
            Self::Korean => korean,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(wanted: &str, expect: Language) {
        let headers = HeaderMap::from_iter([(header::ACCEPT_LANGUAGE, wanted.parse().unwrap())]);
        assert_eq!(Language::of(&headers), expect, "{wanted}");
    }

    #[test]
    fn the_heavier_language_is_spoken() {
        check("ko-KR,ko;q=0.9,en;q=0.8", Language::Korean);
        check("ko;q=0.5, en-GB;q=0.7", Language::English);
        check("fr, ko;q=0.1", Language::Korean);
        check("", Language::English);
        check("korean", Language::English);
    }
}

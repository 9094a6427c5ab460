//! Byte strings on the wire.
//!
//! Paths, arguments and environment values are bytes on Unix. JSON carries text, so a byte string travels as a JSON string
//! where it is UTF-8 and as `{"hex": "…"}` where it is not.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::ops::Deref;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::{hex, unhex};

/// A byte string that serializes as text where it can.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ByteText(pub Vec<u8>);

impl ByteText {
    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes as a path.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// For messages: invalid UTF-8 replaced.
    pub fn display(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
}

impl Deref for ByteText {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for ByteText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.display(), f)
    }
}

impl From<&[u8]> for ByteText {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl From<Vec<u8>> for ByteText {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl From<&str> for ByteText {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl From<&Path> for ByteText {
    fn from(path: &Path) -> Self {
        Self(path.as_os_str().as_bytes().to_vec())
    }
}

impl From<PathBuf> for ByteText {
    fn from(path: PathBuf) -> Self {
        Self(path.into_os_string().into_vec())
    }
}

impl From<OsString> for ByteText {
    fn from(text: OsString) -> Self {
        Self(text.into_vec())
    }
}

impl Serialize for ByteText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("hex", &hex(&self.0))?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for ByteText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ByteTextVisitor;

        impl<'de> Visitor<'de> for ByteTextVisitor {
            type Value = ByteText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or {\"hex\": …}")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteText, E> {
                Ok(ByteText(text.as_bytes().to_vec()))
            }

            fn visit_string<E: de::Error>(self, text: String) -> Result<ByteText, E> {
                Ok(ByteText(text.into_bytes()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ByteText, A::Error> {
                let Some((name, text)) = map.next_entry::<String, String>()? else {
                    return Err(de::Error::custom("empty byte string object"));
                };
                if name != "hex" {
                    return Err(de::Error::custom("expected the field `hex`"));
                }
                unhex(&text).map(ByteText).ok_or_else(|| de::Error::custom("bad hex digits"))
            }
        }

        deserializer.deserialize_any(ByteTextVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_survive_json() {
        for bytes in [&b"plain"[..], b"\xff\x00odd", b"nul\0inside"] {
            let json = serde_json::to_string(&ByteText::from(bytes)).expect("serializes");
            let back: ByteText = serde_json::from_str(&json).expect("parses");
            assert_eq!(&back.0, bytes, "{json}");
        }
    }
}

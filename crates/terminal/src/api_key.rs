//! API keys on the command line and in the environment.

/// Parses an API key without the white space around it, such as the line break of a file.
pub fn parse(key: &str) -> Result<String, &'static str> {
    let key = key.trim();
    if key.is_empty() {
        return Err("an empty API key would let everybody in");
    }
    if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("an API key consists of visible ASCII characters");
    }
    Ok(key.to_owned())
}

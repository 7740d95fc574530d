//! Handles the requests that read or delete objects.

use std::{
    io::{self, Read},
    ops::Range,
};

use bytes::Bytes;
use s3s::{
    Body, S3Result,
    dto::{
        CopyObjectInput, CopySource, Delete, DeleteObjectInput, DeleteObjectOutput, DeleteObjectsOutput, DeletedObject,
        ETag, Error, GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput, MetadataDirective,
        ObjectIdentifier, StreamingBlob, Timestamp,
    },
    s3_error,
};
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;

use super::{
    checksums::{CHUNK, sha256},
    conditions::Conditions,
    error::FileStoreError,
    file_store::{FileStore, OpenObject, Staged},
    listing::NULL_VERSION,
};

const CONTENT_TYPE: &str = "application/json";

/// The largest number of keys in one `DeleteObjects` request (Amazon S3 API Reference).
const MOST_DELETED: usize = 1000;

/// Handles HEAD for an object. Reads the content only if the client requests a checksum.
pub(super) fn head(folder: &FileStore, input: HeadObjectInput) -> S3Result<HeadObjectOutput> {
    check_version(input.version_id.as_deref())?;
    let mut object = folder.open_object(&input.key)?.ok_or_else(|| s3_error!(NoSuchKey))?;
    let checksum_mode = input.checksum_mode.clone();
    Conditions::from(input).check(&object.info)?;
    let checksum = checksum_mode.map(|_| sha256(object.range(0..object.info.size)?)).transpose();
    Ok(HeadObjectOutput {
        accept_ranges: Some("bytes".to_owned()),
        content_length: i64::try_from(object.info.size).ok(),
        content_type: Some(CONTENT_TYPE.to_owned()),
        e_tag: Some(ETag::Strong(object.info.e_tag())),
        checksum_sha256: checksum.map_err(FileStoreError::from)?,
        last_modified: Some(Timestamp::from(object.info.modified)),
        metadata: object.metadata(),
        ..HeadObjectOutput::default()
    })
}

/// Handles GET for an object or a range of its bytes.
pub(super) fn get(folder: &FileStore, input: GetObjectInput) -> S3Result<GetObjectOutput> {
    check_version(input.version_id.as_deref())?;
    let object = folder.open_object(&input.key)?.ok_or_else(|| s3_error!(NoSuchKey))?;
    let (range, size) = (input.range, object.info.size);
    Conditions::from(input).check(&object.info)?;
    let range = range.map(|range| range.check(size)).transpose()?;
    // A request for the last bytes of an empty object has an empty range.
    if range.as_ref().is_some_and(std::ops::Range::is_empty) {
        return Err(s3_error!(InvalidRange));
    }
    let content_range = range.as_ref().map(|range| format!("bytes {}-{}/{size}", range.start, range.end - 1));
    let range = range.unwrap_or(0..size);
    let metadata = object.metadata();
    let (length, e_tag, modified) = (range.end - range.start, object.info.e_tag(), object.info.modified);
    Ok(GetObjectOutput {
        accept_ranges: Some("bytes".to_owned()),
        content_length: i64::try_from(length).ok(),
        content_range,
        content_type: Some(CONTENT_TYPE.to_owned()),
        e_tag: Some(ETag::Strong(e_tag)),
        last_modified: Some(Timestamp::from(modified)),
        metadata,
        body: Some(body(object, range).map_err(FileStoreError::from)?),
        ..GetObjectOutput::default()
    })
}

/// Reads a small range at once, and streams a large one.
fn body(mut object: OpenObject, range: Range<u64>) -> io::Result<StreamingBlob> {
    let length = range.end - range.start;
    if length <= CHUNK as u64 {
        let mut bytes = Vec::new();
        object.range(range)?.read_to_end(&mut bytes)?;
        return Ok(StreamingBlob::from(Body::from(Bytes::from(bytes))));
    }
    let file = tokio::fs::File::from_std(object.into_file(range.start)?);
    Ok(StreamingBlob::wrap(ReaderStream::with_capacity(file.take(length), CHUNK)))
}

pub(super) fn source(folder: &FileStore, input: CopyObjectInput) -> S3Result<Staged> {
    let CopySource::Bucket { bucket, key, version_id } = &input.copy_source else {
        return Err(s3_error!(NotImplemented, "the source of a copy must be BUCKET/KEY"));
    };
    if **bucket != *folder.bucket() {
        return Err(s3_error!(NoSuchBucket));
    }
    check_version(version_id.as_deref())?;
    let mut object = folder.open_object(key)?.ok_or_else(|| s3_error!(NoSuchKey))?;
    let is_replaced = input.metadata_directive.as_ref().is_some_and(|of| of.as_str() == MetadataDirective::REPLACE);
    let metadata = if is_replaced { input.metadata.clone() } else { object.metadata() }.unwrap_or_default();
    // A copy cannot return 304, so every failed condition is a 412.
    Conditions::from(input).check(&object.info).map_err(|_| s3_error!(PreconditionFailed))?;
    let mut staged = folder.stage(&metadata)?;
    io::copy(&mut object.range(0..object.info.size).map_err(FileStoreError::from)?, &mut staged)
        .map_err(FileStoreError::from)?;
    Ok(staged)
}

/// Deletes an object. S3 also confirms the deletion of an object that does not exist.
pub(super) fn delete(folder: &FileStore, input: &DeleteObjectInput) -> S3Result<DeleteObjectOutput> {
    check_version(input.version_id.as_deref())?;
    if input.if_match.is_some() || input.if_match_last_modified_time.is_some() || input.if_match_size.is_some() {
        return Err(s3_error!(NotImplemented, "a conditional delete is not supported"));
    }
    folder.delete(&input.key)?;
    Ok(DeleteObjectOutput { version_id: input.version_id.clone(), ..DeleteObjectOutput::default() })
}

/// Deletes up to a thousand objects, and reports the outcome of each.
pub(super) fn delete_many(folder: &FileStore, Delete { objects, quiet }: Delete) -> S3Result<DeleteObjectsOutput> {
    if objects.len() > MOST_DELETED {
        return Err(s3_error!(MalformedXML, "one request deletes at most {MOST_DELETED} objects"));
    }
    let (mut deleted, mut errors) = (Vec::new(), Vec::new());
    for ObjectIdentifier { key, version_id, e_tag, last_modified_time, size } in objects {
        let input = DeleteObjectInput {
            key,
            version_id,
            if_match: e_tag.map(s3s::dto::ETagCondition::ETag),
            if_match_last_modified_time: last_modified_time,
            if_match_size: size,
            ..DeleteObjectInput::default()
        };
        let outcome = delete(folder, &input);
        let DeleteObjectInput { key, version_id, .. } = input;
        match outcome {
            Ok(_) => deleted.push(DeletedObject { key: Some(key), version_id, ..DeletedObject::default() }),
            Err(error) => errors.push(Error {
                code: Some(error.code().as_str().to_owned()),
                key: Some(key),
                message: error.message().map(str::to_owned),
                version_id,
            }),
        }
    }
    let deleted = if quiet.unwrap_or_default() { None } else { Some(deleted) };
    Ok(DeleteObjectsOutput { deleted, errors: Some(errors), ..DeleteObjectsOutput::default() })
}

/// Accepts only the version id that every object has in a bucket without versioning.
fn check_version(version_id: Option<&str>) -> S3Result<()> {
    if version_id.is_none_or(|version| version == NULL_VERSION) {
        Ok(())
    } else {
        Err(s3_error!(InvalidArgument, "this bucket has no versions: the only version id is \"{NULL_VERSION}\""))
    }
}

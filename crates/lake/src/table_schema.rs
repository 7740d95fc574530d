//! The table's columns, and their comparison with the columns of an existing table.

use delta_kernel::{
    KernelError,
    engine::arrow_conversion::TryFromArrow,
    schema::{DataType, StructField, StructType},
};

use crate::{
    Result,
    columns::{ADDED, DAY, schema},
};

pub(crate) fn table_schema() -> Result<StructType> {
    let columns = StructType::try_from_arrow(&schema()).map_err(KernelError::from)?;
    let day = StructField::nullable(DAY, DataType::DATE);
    Ok(StructType::try_new(columns.into_fields().chain([day]))?)
}

/// Describes how the columns of a table differ from the lake's. Ignores order, comments and nullability (Delta
/// Transaction Log Protocol, "Schema Serialization Format").
pub(crate) fn difference(found: &StructType, expected: &StructType) -> Option<String> {
    for field in expected.fields() {
        match found.field(field.name()) {
            None if ADDED.contains(&field.name().as_str()) => {}
            None => return Some(format!("it has no column `{}`", field.name())),
            Some(other) if !is_same_type(other.data_type(), field.data_type()) => {
                return Some(format!("its column `{}` has another type", field.name()));
            }
            Some(_) => {}
        }
    }
    // A rewritten file would lose the values of an additional column.
    let other = found.fields().find(|field| expected.field(field.name()).is_none())?;
    Some(format!("it has another column, `{}`", other.name()))
}

fn is_same_type(one: &DataType, other: &DataType) -> bool {
    match (one, other) {
        (DataType::Struct(one), DataType::Struct(other)) => {
            let same = |field: &StructField| {
                other.field(field.name()).is_some_and(|other| is_same_type(field.data_type(), other.data_type()))
            };
            one.fields().len() == other.fields().len() && one.fields().all(same)
        }
        (DataType::Array(one), DataType::Array(other)) => is_same_type(one.element_type(), other.element_type()),
        (one, other) => one == other,
    }
}

//! The deployed stack: its parameters, outputs and resources.

use std::collections::BTreeMap;

use anyhow::Context;
use jiff::Timestamp;
use serde_json::Value;

use super::aws_cli::{aws, is_stand_in};

/// The logical id of the function that stores traces. It never changes.
const FUNCTION: &str = "OlmoeAttestS3LoggingFunction";

pub struct Stack {
    parameters: BTreeMap<String, String>,
    outputs: BTreeMap<String, String>,
    resources: Vec<Resource>,
    /// The time of the last deployment.
    pub updated: Option<Timestamp>,
    /// Whether the stack is deployed to a local stand-in for AWS.
    pub is_stand_in: bool,
}

struct Resource {
    logical_id: String,
    physical_id: String,
    kind: String,
}

impl Stack {
    pub async fn describe(name: &str) -> anyhow::Result<Self> {
        let stacks = aws(&["cloudformation", "describe-stacks", "--stack-name", name]).await?;
        let stack = &stacks["Stacks"][0];
        let resources = aws(&["cloudformation", "list-stack-resources", "--stack-name", name]).await?;
        let resources = resources["StackResourceSummaries"].as_array().context("the stack has no resources")?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let time = |name: &str| stack[name].as_str()?.parse().ok();
        Ok(Self {
            updated: time("LastUpdatedTime").or_else(|| time("CreationTime")),
            parameters: pairs(&stack["Parameters"], "ParameterKey", "ParameterValue"),
            outputs: pairs(&stack["Outputs"], "OutputKey", "OutputValue"),
            resources: resources
                .iter()
                .map(|resource| Resource {
                    logical_id: text(&resource["LogicalResourceId"]),
                    physical_id: text(&resource["PhysicalResourceId"]),
                    kind: text(&resource["ResourceType"]),
                })
                .collect(),
            is_stand_in: is_stand_in().await,
        })
    }

    pub fn parameter(&self, name: &str) -> anyhow::Result<&str> {
        self.parameters.get(name).map(String::as_str).with_context(|| format!("the stack has no parameter {name}"))
    }

    pub fn max_trace_bytes(&self) -> Option<usize> {
        self.parameter("MaxTraceBytes").ok()?.parse().ok()
    }

    pub fn output(&self, name: &str) -> anyhow::Result<&str> {
        self.outputs.get(name).map(String::as_str).with_context(|| format!("the stack has no output {name}"))
    }

    pub fn bucket(&self) -> anyhow::Result<&str> {
        self.output("Bucket")
    }

    /// Returns whether the stack created its bucket, and therefore sets the bucket's policy and public access block.
    pub fn creates_bucket(&self) -> anyhow::Result<bool> {
        Ok(self.parameter("BucketName")? == "create")
    }

    /// Returns whether the stack has a lake, and the function that maintains it.
    pub fn has_lake(&self) -> bool {
        self.parameter("Queries").is_ok_and(|queries| queries == "on")
    }

    /// Returns whether the stack has the OpenTelemetry routes.
    pub fn has_otel(&self) -> bool {
        self.parameter("OpenTelemetry").is_ok_and(|of| of == "on")
    }

    pub fn function(&self) -> anyhow::Result<&str> {
        self.named(FUNCTION)
    }

    pub fn named(&self, logical_id: &str) -> anyhow::Result<&str> {
        let resource = self.resources.iter().find(|resource| resource.logical_id == logical_id);
        Ok(&resource.with_context(|| format!("the stack has no resource {logical_id}"))?.physical_id)
    }

    pub fn all<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a str> {
        self.resources.iter().filter(move |of| of.kind == kind).map(|of| of.physical_id.as_str())
    }

    pub fn one<'a>(&'a self, kind: &'a str) -> anyhow::Result<&'a str> {
        self.all(kind).next().with_context(|| format!("the stack has no resource of type {kind}"))
    }
}

fn pairs(list: &Value, key: &str, value: &str) -> BTreeMap<String, String> {
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(|pair| Some((pair[key].as_str()?.to_owned(), pair[value].as_str()?.to_owned()))).collect()
}

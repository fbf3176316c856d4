//! The engine among servers that do as the story says.

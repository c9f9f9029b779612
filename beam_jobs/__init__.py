"""The records job, on Apache Beam."""

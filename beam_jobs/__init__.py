"""The records job and the captioning job, on Apache Beam."""

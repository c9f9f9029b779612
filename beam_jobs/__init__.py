"""The Apache Beam jobs of imcap."""

"""What a person reads of an observation and of what was decided: tables, reports, links."""

"""Great Expectations over the records: suites, the table that they speak of, Data Docs."""

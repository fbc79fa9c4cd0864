"""Files: scans, ITK transforms, Learn2Reg archives and DataLad links."""

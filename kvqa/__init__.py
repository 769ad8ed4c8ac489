"""Knowledge-based visual question answering: seeing, reasoning, answering."""

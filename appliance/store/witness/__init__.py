"""What this home cosigned for other logs."""

"""What many specs cost, and one large one."""

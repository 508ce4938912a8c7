"""What is true now. Looks, and changes nothing; judges nothing."""

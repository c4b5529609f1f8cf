"""Files of people, nodes, activities, attendance and hours, previewed, booked in pieces, and taken back as a whole."""

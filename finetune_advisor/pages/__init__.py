"""The Streamlit pages; the only room that imports streamlit."""

//! One at a time: two runs of the same key, two resumes of the same run, a resume of what is over.

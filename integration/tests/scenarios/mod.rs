//! vrift's main job on real projects.

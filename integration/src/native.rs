//! Real projects in C and C++ that vrift is measured with.

use std::path::PathBuf;

use crate::checkout::Checkout;
use crate::command::Cmd;
use crate::{Result, debian};

/// A project: how it is configured, built and tested by shell commands in its folder.
#[derive(Clone, Debug)]
pub struct Native {
    /// For people.
    pub name: &'static str,
    /// The sources: copy them, never build in them.
    pub sources: PathBuf,
    /// Makes the build files; nothing where they are there.
    pub configure: &'static str,
    /// Builds. A percent sign is where `vrift` may stand.
    pub build: &'static str,
    /// Does nothing but fail where something is left to do.
    pub is_done: &'static str,
    /// The project's own tests.
    pub check: &'static str,
}

impl Native {
    /// A command with `vrift` in front of each build tool, or without it.
    pub fn cmd(checkout: &Checkout<'_>, script: &str, vrift: bool) -> Cmd {
        let front = if vrift { "vrift " } else { "" };
        checkout.sh(&script.replace("%", front))
    }
}

/// zlib: a configure script written by hand, static and shared libraries, programs.
///
/// # Errors
/// It cannot be fetched.
pub fn zlib() -> Result<Native> {
    Ok(Native {
        name: "zlib 1.2.13",
        sources: debian::sources(
            "z/zlib/zlib_1.2.13.dfsg.orig.tar.bz2",
            "71feb7947e3c00ef125f83b79a4e529bde31171e5babe48b391f06758d1ab0a1",
        )?,
        configure: "%./configure",
        build: "%make -j2",
        is_done: "make -q",
        check: "make test",
    })
}

/// Lua: recursive Make, an archive that is indexed in place.
///
/// # Errors
/// It cannot be fetched.
pub fn lua() -> Result<Native> {
    Ok(Native {
        name: "lua 5.4.4",
        sources: debian::sources(
            "l/lua5.4/lua5.4_5.4.4.orig.tar.gz",
            "164c7849653b80ae67bec4b7473b884bf5cc8d2dca05653475ec2ed27b9ebf61",
        )?,
        configure: "",
        build: "%make -j2 linux",
        is_done: "make -C src -q all",
        check: "make test",
    })
}

/// gawk: Autoconf and Automake, a long configure.
///
/// # Errors
/// It cannot be fetched.
pub fn gawk() -> Result<Native> {
    Ok(Native {
        name: "gawk 5.2.1",
        sources: debian::sources(
            "g/gawk/gawk_5.2.1.orig.tar.xz",
            "2337a0283b180ec1b9c727973a34781c6478b3ae9bcbdcca0a4dc49861d75a65",
        )?,
        // Copies are all new: what is generated must not look older than what it is generated from.
        configure: "touch aclocal.m4 configure configh.in Makefile.in */Makefile.in awkgram.c command.c; \
                    %./configure --disable-nls --disable-extensions",
        // The sources come without the documentation's, which the target `all` wants.
        build: "%make -j2 -C support; %make -j2 gawk",
        // Asked with -q, Automake's rule for config.h is never content.
        is_done: "make -C support -q libsupport.a; ! make gawk | grep -E '^(gcc|ar) '",
        check: "./gawk 'BEGIN { print 6 * 7 }'",
    })
}

/// fribidi: Meson and Ninja, tables that programs of its own generate.
///
/// # Errors
/// It cannot be fetched.
pub fn fribidi() -> Result<Native> {
    Ok(Native {
        name: "fribidi 1.0.8",
        sources: debian::sources(
            "f/fribidi/fribidi_1.0.8.orig.tar.bz2",
            "94c7b68d86ad2a9613b4dcffe7bbeb03523d63b5b37918bdf2e4ef34195c1e6c",
        )?,
        // Where there is a ccache, Meson puts it in front of a compiler that nobody has named.
        configure: "CC=cc %meson setup build -Ddocs=false",
        build: "%meson compile -C build -j 2",
        is_done: "ninja -C build | grep -q 'no work to do'",
        check: "meson test -C build",
    })
}

/// yaml-cpp: CMake and Ninja, C++.
///
/// # Errors
/// It cannot be fetched.
pub fn yaml_cpp() -> Result<Native> {
    Ok(Native {
        name: "yaml-cpp 0.7.0",
        sources: debian::sources(
            "y/yaml-cpp/yaml-cpp_0.7.0+dfsg.orig.tar.xz",
            "dc63708605404e0b963e0ca3a9619d1c8270eda2839603e6fa0384e5e51e5312",
        )?,
        configure: "%cmake -G Ninja -S . -B build -DCMAKE_BUILD_TYPE=Release -DYAML_CPP_BUILD_TESTS=OFF",
        build: "%ninja -C build",
        is_done: "ninja -C build | grep -q 'no work to do'",
        check: "printf 'a: [1, 2]\\n' | ./build/util/parse",
    })
}

"""The recipe of xshm for Conan 2. Makes the library with cargo, which must be installed.

    conan create packaging/conan
"""

import os
import re

from conan import ConanFile
from conan.errors import ConanInvalidConfiguration
from conan.tools.cmake import CMake, CMakeToolchain, cmake_layout
from conan.tools.files import copy, load

ROOT = os.path.join("..", "..")


class XshmConan(ConanFile):
    name = "xshm"
    description = "Messages between the processes of one machine over shared memory"
    license = "MIT"
    topics = ("ipc", "shared-memory", "ring-buffer")
    package_type = "static-library"
    settings = "os", "arch", "compiler", "build_type"

    def set_version(self):
        manifest = load(self, os.path.join(self.recipe_folder, ROOT, "Cargo.toml"))
        self.version = re.search(r'^version = "(.*)"', manifest, re.MULTILINE).group(1)

    def export_sources(self):
        root = os.path.join(self.recipe_folder, ROOT)
        # Cargo wants to see all members of the workspace, and the files of the package's targets.
        for pattern in (".cargo/*", "src/*", "c/*", "examples/*", "tests/*.rs", "include/*", "cmake/*", "packaging/xshm.pc.in",
                        "ci/private.sh", "docs/*.md", "Cargo.*", "CMakeLists.txt", "cbindgen.toml", "README.md", "LICENSE"):
            copy(self, pattern, root, self.export_sources_folder)

    def validate(self):
        if str(self.settings.os) not in ("Windows", "Linux"):
            raise ConanInvalidConfiguration("xshm runs on Windows and Linux")
        if str(self.settings.arch) not in ("x86", "x86_64", "armv8"):
            raise ConanInvalidConfiguration("xshm runs on x86, x86_64 and armv8")

    def package_id(self):
        # Cargo makes the same library for all compilers of an ABI, and always optimises it.
        for part in ("compiler.version", "compiler.libcxx", "compiler.cppstd", "compiler.cstd", "compiler.runtime",
                     "compiler.runtime_type", "build_type"):
            self.info.settings.rm_safe(part)

    def layout(self):
        cmake_layout(self)

    def generate(self):
        CMakeToolchain(self).generate()

    def build(self):
        cmake = CMake(self)
        cmake.configure()
        cmake.build()

    def package(self):
        CMake(self).install()
        copy(self, "LICENSE", self.source_folder, os.path.join(self.package_folder, "licenses"))

    def package_info(self):
        # Conan's own files for CMake and pkg-config say the same as those of the package, which are for its target only.
        self.cpp_info.set_property("cmake_file_name", "xshm")
        self.cpp_info.set_property("cmake_target_name", "xshm::xshm")
        self.cpp_info.set_property("pkg_config_name", "xshm")
        windows = self.settings.os == "Windows"
        self.cpp_info.libs = ["xshm"]
        self.cpp_info.system_libs = ["ntdll"] if windows else ["pthread", "dl", "m"]
        if not windows:
            # Two shared objects that contain the library must not share a copy of it.
            self.cpp_info.sharedlinkflags = ["-Wl,--exclude-libs,libxshm.a"]

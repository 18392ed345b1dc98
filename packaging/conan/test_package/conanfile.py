"""Builds the example echo with the package, and exchanges messages between a C and a C++ program."""

import os
import subprocess

from conan import ConanFile
from conan.tools.build import can_run
from conan.tools.cmake import CMake, cmake_layout


class XshmTestConan(ConanFile):
    settings = "os", "arch", "compiler", "build_type"
    generators = "CMakeDeps", "CMakeToolchain", "VirtualRunEnv"

    def requirements(self):
        self.requires(self.tested_reference_str)

    def layout(self):
        cmake_layout(self)

    def build(self):
        cmake = CMake(self)
        cmake.configure()
        cmake.build()

    def test(self):
        if not can_run(self):
            return
        name = f"xshm.conan.{os.getpid()}"
        command = os.path.join(self.cpp.build.bindir, "{}")
        server = subprocess.Popen([command.format("echo_c"), "serve", name, "100"])
        self.run(f"{command.format('echo_cpp')} answer {name} 100", env="conanrun")
        if server.wait(60) != 0:
            raise RuntimeError("the server failed")

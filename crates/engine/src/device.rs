//! Where tensors live and operators run.

use std::fmt;

use burn_dispatch::DispatchDevice;
use burn_dispatch::devices::FlexDevice;
use headstart_core::Precision;

use crate::EngineError;

/// A place that computes: the processor, or with the feature `gpu` a graphics card.
#[derive(Debug, Clone)]
pub struct Device {
    name: &'static str,
    inner: DispatchDevice,
}

impl Device {
    /// The processor.
    pub fn cpu() -> Self {
        Device { name: "cpu", inner: DispatchDevice::Flex(FlexDevice) }
    }

    /// The device of that name: `cpu`, and `gpu` where the build has it.
    ///
    /// ```
    /// use headstart_engine::Device;
    /// assert_eq!(Device::parse("cpu").expect("always there").to_string(), "cpu");
    /// assert!(Device::parse("abacus").is_err());
    /// ```
    pub fn parse(name: &str) -> Result<Self, EngineError> {
        match name {
            "cpu" => Ok(Device::cpu()),
            #[cfg(feature = "gpu")]
            "gpu" => Ok(Device {
                name: "gpu",
                inner: burn_dispatch::Dispatch::enumerate_cube(burn_dispatch::devices::RuntimeId::Wgpu)
                    .into_iter()
                    .next()
                    .ok_or(EngineError::Device {
                        got: "gpu".into(),
                        allowed: "cpu; no adapter was found".into(),
                    })?,
            }),
            other => Err(EngineError::Device { got: other.into(), allowed: Self::allowed().into() }),
        }
    }

    fn allowed() -> &'static str {
        if cfg!(feature = "gpu") { "cpu, gpu" } else { "cpu; build with `--features gpu` for gpu" }
    }

    /// True if operators run on the processor's own threads, where one example at a time costs nothing extra.
    pub fn is_cpu(&self) -> bool {
        self.name == "cpu"
    }

    /// Whether it has instructions for products in a precision that are quicker than those in f32.
    ///
    /// ```
    /// use headstart_core::Precision;
    /// use headstart_engine::Device;
    /// assert!(!Device::cpu().accelerates(Precision::F32));
    /// ```
    pub fn accelerates(&self, precision: Precision) -> bool {
        self.is_cpu() && kernel_precision(precision).is_accelerated()
    }

    pub(crate) fn plain(&self) -> &DispatchDevice {
        &self.inner
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// A precision as kernels name it.
pub fn kernel_precision(precision: Precision) -> headstart_kernels::Precision {
    match precision {
        Precision::F32 => headstart_kernels::Precision::F32,
        Precision::Bf16 => headstart_kernels::Precision::Bf16,
        Precision::Int8 => headstart_kernels::Precision::Int8,
    }
}

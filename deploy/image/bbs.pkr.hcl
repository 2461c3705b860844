# An image by Packer: packer init . && packer build -var bundle=bbs-image.tar.gz -var
# bundle_sha256=… bbs.pkr.hcl, where bundle.sh has made the archive and said its SHA-256. It does what
# cloud-init.yaml does, and tags what it makes as docs/aws.md's policies want it.

packer {
  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = "~> 1.3"
    }
  }
}

variable "bundle" {
  type        = string
  description = "The archive that bundle.sh has made."
}

variable "bundle_sha256" {
  type        = string
  description = "Its SHA-256, as bundle.sh said it."
  validation {
    condition     = can(regex("^[0-9a-f]{64}$", var.bundle_sha256))
    error_message = "The bundle_sha256 has to be 64 hexadecimal digits."
  }
}

variable "region" {
  type    = string
  default = "us-east-1"
}

variable "fleet" {
  type        = string
  default     = "bbs"
  description = "The name that [ec2] name gives the fleet: its login server launches images that have it as their tag bbs:fleet."
}

variable "broker" {
  type        = string
  default     = "yes"
  description = "Whether ActiveMQ is in it, for a login server that has its broker beside it: yes or no."
}

variable "fluent_bit" {
  type        = string
  default     = "5.1.1"
  description = "The version of Fluent Bit, which ships logs to CloudWatch Logs; none if empty."
}

source "amazon-ebs" "bbs" {
  region        = var.region
  instance_type = "t3.small"
  ssh_username  = "admin"
  ami_name      = "bbs-${formatdate("YYYYMMDD-hhmm", timestamp())}"

  # Debian's own account.
  source_ami_filter {
    owners      = ["136693071363"]
    most_recent = true
    filters = {
      name                = "debian-13-amd64-*"
      virtualization-type = "hvm"
      root-device-type    = "ebs"
    }
  }

  metadata_options {
    http_tokens = "required"
  }

  imds_support = "v2.0"

  tags = {
    "bbs:fleet" = var.fleet
    Name        = "bbs"
  }

  snapshot_tags = {
    "bbs:fleet" = var.fleet
    Name        = "bbs"
  }
}

build {
  sources = ["source.amazon-ebs.bbs"]

  provisioner "file" {
    source      = var.bundle
    destination = "/tmp/bundle.tar.gz"
  }

  provisioner "shell" {
    execute_command = "sudo env {{ .Vars }} bash {{ .Path }}"
    env = {
      BUNDLE_SHA256  = var.bundle_sha256
      BBS_BROKER     = var.broker
      BBS_FLUENT_BIT = var.fluent_bit
    }
    inline = [
      "set -euo pipefail",
      "cloud-init status --wait",
      "echo \"$BUNDLE_SHA256  /tmp/bundle.tar.gz\" | sha256sum --check --quiet",
      "mkdir /run/bbs-image",
      "tar --extract --gzip --file /tmp/bundle.tar.gz --directory /run/bbs-image",
      "set -a",
      ". /run/bbs-image/wheel.env",
      "set +a",
      "bash /run/bbs-image/install.sh",
      "rm /tmp/bundle.tar.gz",
      "bash /run/bbs-image/forget.sh",
    ]
  }
}
